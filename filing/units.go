package filing

import (
	"strings"

	"labagent/lab"
)

// spellings are the units analyzers write, by the UCUM unit each stands for. Only what can mean one thing is here; a unit
// that is not goes out as its text alone. Nothing is ever converted.
var spellings = map[string]string{
	"10*12/L": "10^12/L 10*12/L 10e12/L 10E12/L x10^12/L x10e12/L x10E12/L 10¹²/L",
	"10*9/L":  "10^9/L 10*9/L 10e9/L 10E9/L x10^9/L x10e9/L x10E9/L 10⁹/L",
	"10*6/L":  "10^6/L 10*6/L 10e6/L 10E6/L x10^6/L x10e6/L x10E6/L 10⁶/L",
	"10*6/uL": "10^6/uL 10*6/uL 10e6/uL 10E6/uL x10^6/uL x10e6/uL x10E6/uL 10⁶/uL M/uL",
	"10*4/uL": "10^4/uL 10*4/uL x10^4/uL 10⁴/uL",
	"10*3/uL": "10^3/uL 10*3/uL 10e3/uL 10E3/uL x10^3/uL x10e3/uL x10E3/uL 10³/uL K/uL",
	"10*2/uL": "10^2/uL 10*2/uL x10^2/uL 10²/uL",
	"/uL":     "/uL", "{cells}/uL": "cells/uL", "/[HPF]": "/HPF /hpf", "/[LPF]": "/LPF /lpf",
	"%": "%", "[ppth]": "‰", "{ratio}": "ratio Ratio RATIO", "{INR}": "INR",
	"fL": "fL", "pg": "pg", "ug": "ug", "mg": "mg", "g": "g", "ng": "ng", "mL": "mL", "uL": "uL", "um": "um",
	"g/L": "g/L", "g/dL": "g/dL G/DL", "mg/L": "mg/L", "mg/dL": "mg/dL MG/DL", "mg/mL": "mg/mL", "g/mL": "g/mL",
	"ug/L": "ug/L", "ug/dL": "ug/dL UG/DL", "ug/mL": "ug/mL", "ng/L": "ng/L", "ng/dL": "ng/dL NG/DL", "ng/mL": "ng/mL NG/ML",
	"pg/mL": "pg/mL PG/ML", "pg/dL": "pg/dL", "pg/L": "pg/L", "ug/g": "ug/g", "mg/g": "mg/g",
	"mol/L": "mol/L", "mmol/L": "mmol/L MMOL/L", "umol/L": "umol/L UMOL/L", "nmol/L": "nmol/L NMOL/L", "pmol/L": "pmol/L PMOL/L",
	"mmol/mol": "mmol/mol", "mmol": "mmol", "umol": "umol", "meq/L": "mEq/L meq/L MEQ/L",
	"U/L": "U/L", "kU/L": "kU/L", "mU/L": "mU/L", "U/mL": "U/mL U/ML", "kU/mL": "kU/mL", "mU/mL": "mU/mL", "uU/mL": "uU/mL",
	"[IU]/L": "IU/L", "k[IU]/L": "kIU/L", "m[IU]/L": "mIU/L", "[IU]/mL": "IU/mL IU/ML", "k[IU]/mL": "kIU/mL",
	"m[IU]/mL": "mIU/mL", "u[IU]/mL": "uIU/mL UIU/ML", "[IU]": "IU", "U": "U", "U/g": "U/g",
	"nkat/L": "nkat/L", "ukat/L": "ukat/L",
	"{copies}/mL": "copies/mL cp/mL Copies/mL", "{copies}": "copies", "[IU]/dL": "IU/dL",
	"s": "s sec SEC seconds", "min": "min", "h": "h", "mm/h": "mm/h mm/hr",
	"mm[Hg]": "mmHg", "kPa": "kPa", "mbar": "mbar", "Cel": "°C", "mosm/kg": "mOsm/kg mosm/kg", "mosm/L": "mOsm/L mosm/L",
	"{RLU}": "RLU", "[pH]": "pH", "mL/min": "mL/min", "mL/min/{1.73_m2}": "mL/min/1.73m2 mL/min/1.73m²",
	"{S_CO_ratio}": "S/CO", "{COI}": "COI",
}

var units = func() map[string]string {
	table := map[string]string{}
	for code, texts := range spellings {
		for _, text := range strings.Fields(texts) {
			table[text] = code
			if litre, ends := strings.CutSuffix(text, "L"); ends {
				table[litre+"l"] = code
			}
		}
	}
	return table
}()

var micro = strings.NewReplacer("µ", "u", "μ", "u", "mcg", "ug")

// spelling is a unit without the differences that carry no meaning: spaces around it, and the two micro signs.
func spelling(unit string) string { return micro.Replace(strings.TrimSpace(unit)) }

// UCUM is the UCUM unit for a unit as analyzers write it, empty where the table has none.
func UCUM(unit string) string { return units[spelling(unit)] }

// ucum is the UCUM unit of a result: what the sender itself says it is, else by the table.
func ucum(r lab.Result) string {
	if r.UnitCode.System == "UCUM" && r.UnitCode.Code != "" && !strings.ContainsAny(r.UnitCode.Code, " \t") {
		return r.UnitCode.Code
	}
	return UCUM(r.Unit)
}
