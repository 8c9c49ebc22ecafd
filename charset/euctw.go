package charset

import "golang.org/x/text/encoding/traditionalchinese"

// run says that the count characters from cns on, counted through a plane of 94 by 94, are those from big5 on, counted
// through the 157 trail bytes of each row of Big5. The two sets hold the same characters in nearly the same order.
type run struct{ cns, big5, count int }

var planes = [2][]run{
	{ // plane 1: symbols, frequent characters
		{0, 0, 21}, {21, 23, 2}, {24, 22, 1}, {29, 29, 44}, {73, 74, 1}, {74, 73, 1}, {75, 75, 52}, {127, 128, 1},
		{128, 127, 1}, {129, 129, 19}, {148, 149, 1}, {149, 148, 1}, {150, 150, 4}, {155, 21, 1}, {156, 158, 2},
		{158, 158, 76}, {282, 234, 174}, {470, 6101, 20}, {3290, 471, 1412}, {4702, 1884, 424}, {5126, 1883, 1},
		{5127, 2308, 1876}, {7003, 4571, 1}, {7004, 4184, 387}, {7391, 4572, 525}, {7916, 5286, 1}, {7917, 5097, 189},
		{8106, 5287, 84}, {8190, 5517, 1}, {8191, 5371, 54}, {8245, 5426, 1}, {8246, 5425, 1}, {8247, 5427, 90},
		{8337, 5518, 354},
	},
	{ // plane 2: less frequent characters
		{0, 6280, 10}, {10, 6291, 33}, {43, 6372, 1}, {44, 6324, 48}, {92, 6373, 46}, {138, 6586, 1}, {139, 6419, 167},
		{306, 6587, 1840}, {2146, 9074, 1}, {2147, 8428, 108}, {2255, 8537, 537}, {2792, 8427, 1}, {2793, 9075, 100},
		{2893, 8536, 1}, {2894, 9175, 399}, {3293, 9575, 1637}, {4930, 11761, 1}, {4931, 11212, 146}, {5077, 11899, 1},
		{5078, 11358, 287}, {5365, 12508, 1}, {5366, 11645, 116}, {5482, 11762, 137}, {5619, 11900, 104},
		{5723, 12425, 1}, {5724, 12004, 222}, {5946, 12227, 198}, {6144, 12426, 82}, {6226, 12509, 86},
		{6312, 12226, 1}, {6313, 12595, 8}, {6321, 12604, 153}, {6474, 12758, 56}, {6530, 13114, 1},
		{6531, 12814, 113}, {6644, 12603, 1}, {6645, 12927, 142}, {6787, 12757, 1}, {6788, 13069, 45},
		{6833, 13115, 71}, {6904, 13380, 1}, {6905, 13186, 194}, {7099, 13381, 490}, {7589, 13914, 1},
		{7590, 13871, 43}, {7633, 13915, 1}, {7634, 13917, 11}, {7645, 13916, 1}, {7646, 13928, 4},
	},
}

// decodeEUCTW decodes CNS 11643-1992 as EUC-TW writes it: planes 1 and 2 by way of Big5.
func decodeEUCTW(p []byte) ([]byte, bool) {
	decoder := traditionalchinese.Big5.NewDecoder()
	return eachCharacter(sizeEUCTW, p, func(c []byte) []byte {
		plane, at := 1, c
		if len(c) == 4 {
			plane, at = int(c[1]-0xA0), c[2:]
		}
		big5, found := fromCNS(plane, int(at[0]-0xA1)*94+int(at[1]-0xA1))
		if !found {
			return nil
		}
		text, err := decoder.Bytes(big5)
		if err != nil {
			return nil
		}
		return text
	})
}

func fromCNS(plane, place int) (big5 []byte, found bool) {
	if plane > len(planes) {
		return nil, false
	}
	for _, r := range planes[plane-1] {
		if place < r.cns || place >= r.cns+r.count {
			continue
		}
		n := r.big5 + place - r.cns
		row, trail := n/157, n%157
		if trail < 63 {
			return []byte{byte(0xA1 + row), byte(0x40 + trail)}, true
		}
		return []byte{byte(0xA1 + row), byte(0xA1 + trail - 63)}, true
	}
	return nil, false
}
