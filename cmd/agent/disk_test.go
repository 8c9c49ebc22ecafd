package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"labagent/config"
	"labagent/driver"
	"labagent/lab"
	"labagent/queue"
	"labagent/sandbox"
	"labagent/status"
)

// disk is a disk that a test makes stall or fail.
type disk struct {
	mu    sync.Mutex
	stall time.Duration // before the next commit
	late  time.Duration // after it
	fail  error
}

func (d *disk) set(change func(*disk)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(d)
}

func (d *disk) sync(commit func() error) error {
	d.mu.Lock()
	stall, late, fail := d.stall, d.late, d.fail
	d.stall, d.late = 0, 0
	d.mu.Unlock()
	time.Sleep(stall)
	if fail != nil {
		return fail
	}
	defer time.Sleep(late)
	return commit()
}

// onDisk is inBubble with such a disk, under an agent that runs.
func onDisk(t *testing.T, test func(b *bubble, d *disk)) {
	inBubble(t, func(b *bubble) {
		d := &disk{}
		b.out.disk = d.sync
		b.start()
		test(b, d)
	})
}

// stalls are the two ways a disk takes 30 s: before the bytes are safe, and after, so that they are stored though nobody
// waits for it.
var stalls = map[string]func(*disk){
	"before": func(d *disk) { d.stall = 30 * time.Second },
	"after":  func(d *disk) { d.late = 30 * time.Second },
}

// TestDiskStalledASTM: a frame is refused when our patience ends, no ACK comes late, ENQ is refused as long as the disk
// does not answer, and what is sent again is stored once.
func TestDiskStalledASTM(t *testing.T) {
	for name, stall := range stalls {
		t.Run(name, func(t *testing.T) {
			onDisk(t, func(b *bubble, d *disk) {
				w := b.dial("hema")
				w.send(enq)
				w.want(ack)
				d.set(stall)
				w.send(frame(1, cbc("100001")))
				w.want("")
				b.after(9 * time.Second)
				w.want("")
				b.after(time.Second)
				w.want(nak)
				w.send(eot)
				b.after(5 * time.Second)
				w.send(enq)
				w.want(nak)
				b.wantAttention("full 1", "hema refused-at-the-line 1")
				b.after(30 * time.Second)
				w.want("")
				b.wantObservations()
				b.wantRefused("hema 100001 not stored")

				w.astm(cbc("100001"))
				b.after(time.Minute)
				b.wantObservations("100001 WBC=6.41", "100001 HGB=13.9")
				b.wantSheets("100001 partial: 2 results, 0 held")
				b.wantQueue(status.Queue{Delivered: 1})
				b.wantRefused()
				b.wantAttention()
				b.restart()
				b.wantQueue(status.Queue{Delivered: 1})
			})
		})
	}
}

// TestDiskStalledFrames: an analyzer that sends its frame again at once, while the disk still stalls, is told no each time,
// and yes for the first that is safe.
func TestDiskStalledFrames(t *testing.T) {
	for name, stall := range stalls {
		t.Run(name, func(t *testing.T) {
			onDisk(t, func(b *bubble, d *disk) {
				w := b.dial("hema")
				w.send(enq)
				w.want(ack)
				d.set(stall)
				for range 2 {
					w.send(frame(1, cbc("100001")))
					b.after(10 * time.Second)
					w.want(nak)
				}
				b.after(5 * time.Second)
				w.send(frame(1, cbc("100001")))
				w.want("")
				b.after(6 * time.Second)
				w.want(ack)
				w.send(eot)
				b.after(time.Minute)
				w.want("")
				b.wantObservations("100001 WBC=6.41", "100001 HGB=13.9")
				b.wantQueue(status.Queue{Delivered: 1})
			})
		})
	}
}

// TestDiskStalledHL7: AE after our patience, nothing later, and stored once when it is sent again.
func TestDiskStalledHL7(t *testing.T) {
	for name, stall := range stalls {
		t.Run(name, func(t *testing.T) {
			onDisk(t, func(b *bubble, d *disk) {
				w := b.dial("chem")
				d.set(stall)
				w.send(vt + glucose("M1", "200001") + fs)
				b.after(9 * time.Second)
				w.want("")
				b.after(time.Second)
				if got := acknowledgements(w.answer()); len(got) != 1 || got[0] != "AE M1" {
					t.Fatalf("acknowledged %v", got)
				}
				b.wantRefused("chem 200001 not stored")
				b.after(30 * time.Second)
				w.want("")
				b.wantObservations()
				if code := w.hl7(glucose("M1", "200001")); code != "AA" {
					t.Errorf("acknowledged %s", code)
				}
				b.after(time.Minute)
				b.wantObservations("200001 GLU=5.4")
				b.wantQueue(status.Queue{Delivered: 1})
				b.wantRefused()
				b.wantAttention()
			})
		})
	}
}

// wantRefused compares what labagent queue refused lists: "analyzer specimen reason" each.
func (b *bubble) wantRefused(want ...string) {
	b.Helper()
	var refused []queue.Refusal
	b.command("GET", "/refused", nil, &refused)
	var list []string
	for _, r := range refused {
		list = append(list, fmt.Sprintf("%s %s %s", r.Analyzer, r.Specimen, r.Reason))
	}
	if strings.Join(list, "\n") != strings.Join(want, "\n") {
		b.Errorf("refused %q, want %q", list, want)
	}
}

// TestDiskFails: NAK and AE at once, delivery of what is stored goes on, and all is well again when the disk is.
func TestDiskFails(t *testing.T) {
	onDisk(t, func(b *bubble, d *disk) {
		hema, chem := b.dial("hema"), b.dial("chem")
		d.set(func(d *disk) { d.fail = errors.New("no space left on device") })
		hema.send(enq + frame(1, cbc("100001")))
		hema.want(ack + nak)
		hema.send(eot + enq)
		hema.want(nak)
		if code := chem.hl7(glucose("M1", "200001")); code != "AE" {
			t.Errorf("acknowledged %s", code)
		}
		b.wantRefused("hema 100001 not stored", "chem 200001 not stored")
		b.wantAttention("full 1", "chem refused-at-the-line 1", "hema refused-at-the-line 1")
		d.set(func(d *disk) { d.fail = nil })
		b.after(10 * time.Second)
		hema.astm(cbc("100001"))
		if code := chem.hl7(glucose("M1", "200001")); code != "AA" {
			t.Errorf("acknowledged %s", code)
		}
		b.wantObservations("100001 WBC=6.41", "100001 HGB=13.9", "200001 GLU=5.4")
		b.wantRefused()
		b.wantAttention()
	})
}

// TestDiskFailsWithin: a frame in the middle is refused to the end. What came before it is shown as incomplete, the frame as
// refused; when all of it comes again both are forgotten.
func TestDiskFailsWithin(t *testing.T) {
	onDisk(t, func(b *bubble, d *disk) {
		w := b.dial("hema")
		head, tail, _ := strings.Cut(cbc("100001"), "R|2|")
		w.send(enq + frame(1, head))
		w.want(ack + ack)
		d.set(func(d *disk) { d.fail = errors.New("no space left on device") })
		for range 6 {
			w.send(frame(2, "R|2|"+tail))
			w.want(nak)
		}
		w.send(eot)
		d.set(func(d *disk) { d.fail = nil })
		b.after(10 * time.Second)
		b.wantQueue(status.Queue{Incomplete: 1})
		b.wantRefused("hema 100001 not stored")
		w.astm(cbc("100001"))
		b.wantRefused()
		b.wantAttention()
	})
}

// TestQueueFull: with max_size reached the analyzers are told no and delivery goes on, which makes room.
func TestQueueFull(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.cfg.Queue.MaxSize = config.Size(len(glucose("M1", "200001")) + 96) // room for one, as the queue counts
		b.server.Switch(func(s *sandbox.Switches) { s.Off = true })
		b.start()
		hema, chem := b.dial("hema"), b.dial("chem")
		if code := chem.hl7(glucose("M1", "200001")); code != "AA" {
			t.Errorf("acknowledged %s", code)
		}
		if code := chem.hl7(glucose("M2", "200002")); code != "AE" {
			t.Errorf("acknowledged %s", code)
		}
		hema.send(enq)
		hema.want(nak)
		b.wantRefused("chem 200002 not stored")
		b.wantAttention("full 1", "chem refused-at-the-line 1")
		b.server.Switch(func(s *sandbox.Switches) { s.Off = false })
		b.after(2 * time.Minute)
		b.wantAttention("chem refused-at-the-line 1")
		if code := chem.hl7(glucose("M2", "200002")); code != "AA" {
			t.Errorf("acknowledged %s", code)
		}
		b.wantObservations("200001 GLU=5.4", "200002 GLU=5.4")
		b.wantRefused()
		b.wantAttention()
	})
}

// deaf is a Store that does not heed the end of its context, as a disk driver may not.
type deaf struct {
	driver.Store
	stall func() time.Duration
}

func (s deaf) Append(ctx context.Context, pieces []lab.Piece) error {
	time.Sleep(s.stall())
	return s.Store.Append(ctx, pieces)
}

// TestDeafStore: patience ends in time even so, and the line goes on when the store has come back.
func TestDeafStore(t *testing.T) {
	inBubble(t, func(b *bubble) {
		d := &disk{stall: 30 * time.Second}
		b.out.store = func(s driver.Store) driver.Store {
			return deaf{s, func() (stall time.Duration) {
				d.set(func(d *disk) { stall, d.stall = d.stall, 0 })
				return stall
			}}
		}
		b.start()
		w := b.dial("chem")
		w.send(vt + glucose("M1", "200001") + fs)
		b.after(11 * time.Second)
		if got := acknowledgements(w.answer()); len(got) != 1 || got[0] != "AE M1" {
			t.Errorf("acknowledged %v", got)
		}
		if code := w.hl7(glucose("M2", "200002")); code != "AE" {
			t.Errorf("while it stalls: acknowledged %s", code)
		}
		b.after(30 * time.Second)
		if code := w.hl7(glucose("M1", "200001")); code != "AA" {
			t.Errorf("acknowledged %s", code)
		}
		b.wantObservations("200001 GLU=5.4")
	})
}

// TestRestartWithinMessage: what came of a message before the agent ended is shown as incomplete; sent again whole, it is
// made once and closes what broke off.
func TestRestartWithinMessage(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.start()
		w := b.dial("hema")
		head, _, _ := strings.Cut(cbc("100001"), "R|2|")
		w.send(enq + frame(1, head))
		w.want(ack + ack)
		b.restart()
		b.wantQueue(status.Queue{Incomplete: 1})
		b.dial("hema").astm(cbc("100001"))
		b.wantObservations("100001 WBC=6.41", "100001 HGB=13.9")
		b.wantQueue(status.Queue{Delivered: 2})
		b.wantAttention()
	})
}
