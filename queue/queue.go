// Package queue is the disk in the middle: what an analyzer was told is safe lies here, synced, until the server has it.
// Everything left of it is fast and never asks the network; everything right of it may fail, wait and be repeated.
//
// What is stored is what was received, piece by piece, in one bbolt file of these buckets:
//
//	records    sequence -> a piece (see record.go); the bucket's own sequence is the last one given out
//	open       sequence of the first piece -> sequence of the last, of each message still being received
//	items      id -> note (JSON), of each undelivered item of which there is more to say than that it waits
//	delivered  id -> note (JSON), of each delivered item that is kept; the bucket's own sequence counts them
//	history    time of delivery and id -> nothing: the order in which the delivered go
//	reserve    pages for the day the disk is full (see reserve.go)
//	meta       format; floor: no item below it waits without a note
//
// An item is a message whose last piece is there; its id is the sequence of that piece. What waits is found at the start
// by reading the records from the floor on, everything else from the small buckets, so a start costs what waits and not
// what is kept. Beside the file lies "refused", a file of fixed size made ahead of need (see refused.go).
//
// One goroutine writes (see writer.go); it takes all that waits into one commit of two syncs. There is one kind of error
// that matters to callers: after it nothing is safe. What a failed or a late commit may have stored all the same is taken
// back by the next one, before anything else of the same line is stored.
//
// Left out, and prepared for by the versions of file and record: segments, encryption, and coming back from damage
// (of which a flipped bit in a record is noticed already: the item is parked as damaged and never served).
package queue

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	boltErrors "go.etcd.io/bbolt/errors"
)

// Options of a queue.
type Options struct {
	MaxSize       int64            // bytes that what is undelivered may take; 0: no limit but the disk
	KeepDelivered time.Duration    // how long a delivered item is kept; 0: not at all
	Now           func() time.Time // the clock; nil: time.Now
	Log           *slog.Logger     // nil: silent

	// Disk is put around each commit and its syncs; tests stall or fail it. Nil: nothing is.
	Disk func(commit func() error) error
}

// Why a queue cannot be opened or used.
var (
	ErrLocked  = errors.New("another labagent is running on it; stop that one first")
	ErrNewer   = errors.New("a newer labagent wrote it; install that version again, nothing was changed")
	ErrForeign = errors.New("it is not a queue of labagent; move it away or set queue.dir to another directory")
	ErrFull    = errors.New("the queue is full: max_size is reached by what is undelivered")
	ErrClosed  = errors.New("the queue is closed")
)

const (
	fileName = "queue.db"
	// format is the version of the file as a whole. A file of a higher one is refused and not touched.
	format = 1
	// lockPatience is how long an agent that is just ending is waited for.
	lockPatience = 2 * time.Second
)

var (
	bucketMeta      = []byte("meta")
	bucketRecords   = []byte("records")
	bucketOpen      = []byte("open")
	bucketItems     = []byte("items")
	bucketDelivered = []byte("delivered")
	bucketHistory   = []byte("history")
	bucketReserve   = []byte("reserve")

	keyFormat = []byte("format")
	keyFloor  = []byte("floor")
)

// Queue is an open queue. Its methods may be called by many goroutines at once, but for Run and Close.
type Queue struct {
	db      *bbolt.DB
	refused *refusals
	options Options
	log     *slog.Logger
	commit  func(*bbolt.Tx) error // tests put a stalling or failing disk here

	waitingMu sync.Mutex
	waiting   []*request    // for the writer, in the order they came
	wake      chan struct{} // something was added to waiting

	stop    chan struct{} // closed by Close
	quit    chan struct{} // closed when nobody serves requests any more
	started bool

	// What the writer alone touches.
	next    uint64     // sequence to give out next
	floor   uint64     // as on disk
	repairs repairs    // what the next commit does first
	again   []*request // closings that must still succeed
	swept   int        // delivered items the last commit removed
	arena   []byte     // encoded records of one commit

	mu        sync.RWMutex // of what follows; written by the writer alone, but for tries
	lanes     map[string]*lane
	notes     map[uint64]note // undelivered items with a note
	tries     map[uint64]try
	bytes     int64
	delivered int
	changed   chan struct{}
	trouble   error     // why the last commit failed
	troubleAt time.Time // and when
	since     time.Time // when the commit now under way began; zero: none is
}

// Open opens the queue in dir, which is made if need be. It starts no goroutine: nothing is stored before Run.
// The errors ErrLocked, ErrNewer and ErrForeign are told apart by errors.Is; each says what to do.
func Open(dir string, o Options) (*Queue, error) {
	q, err := open(dir, o)
	if err != nil {
		return nil, fmt.Errorf("open queue %s: %w", dir, err)
	}
	return q, nil
}

func open(dir string, o Options) (*Queue, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	q := &Queue{
		options: o,
		log:     o.Log,
		commit:  (*bbolt.Tx).Commit,
		wake:    make(chan struct{}, 1),
		stop:    make(chan struct{}),
		quit:    make(chan struct{}),
		lanes:   map[string]*lane{},
		notes:   map[uint64]note{},
		tries:   map[uint64]try{},
		changed: make(chan struct{}),
	}
	if o.Disk != nil {
		q.commit = func(tx *bbolt.Tx) error {
			defer tx.Rollback() // where the commit was not even tried
			return o.Disk(tx.Commit)
		}
	}
	if err := private(dir); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, fileName)
	if err := prepare(path); err != nil {
		return nil, err
	}
	db, err := openBolt(path, false)
	if err != nil {
		return nil, err
	}
	q.db = db
	if err = db.View(q.load); err == nil {
		q.refused, err = openRefusals(filepath.Join(dir, refusedName), q.log)
	}
	if err != nil {
		db.Close()
		return nil, err
	}
	return q, nil
}

// Close ends Run if it still runs, after what was asked for has been written, and closes the files.
func (q *Queue) Close() error {
	first, closed := q.begun()
	if closed {
		return nil
	}
	close(q.stop)
	if first {
		close(q.quit) // there will be no Run
	}
	<-q.quit
	return errors.Join(q.refused.close(), q.db.Close())
}

func (q *Queue) now() time.Time { return q.options.Now() }

// private makes dir if need be and sees that only we can look into it.
func private(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return restrict(dir, 0o700)
}

// restrict takes from others what rights they have on path. On Windows the directory's access list rules, not the mode.
func restrict(path string, mode os.FileMode) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&^mode == 0 {
		return nil
	}
	return os.Chmod(path, mode)
}

// prepare sees that a queue of our format stands at path, and makes one where nothing is. A file that is there is only
// read: what is newer or not ours stays as it is.
func prepare(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return create(path)
	}
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() == 0 {
		return ErrForeign
	}
	if err := restrict(path, 0o600); err != nil {
		return err
	}
	db, err := openBolt(path, true)
	if err != nil {
		return err
	}
	defer db.Close()
	return db.View(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if meta == nil {
			return ErrForeign
		}
		switch found := sequenceOf(meta.Get(keyFormat)); {
		case found == 0:
			return ErrForeign
		case found > format:
			return fmt.Errorf("its format is %d, known here is %d: %w", found, format, ErrNewer)
		}
		return nil
	})
}

// create makes an empty queue beside path and moves it there whole, so that a start that was cut off leaves nothing that
// looks like a strange file.
func create(path string) error {
	fresh := path + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	db, err := openBolt(fresh, false)
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{bucketMeta, bucketRecords, bucketOpen, bucketItems, bucketDelivered, bucketHistory, bucketReserve} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		if err := layIn(tx); err != nil {
			return err
		}
		return tx.Bucket(bucketMeta).Put(keyFormat, key(format))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	if err := os.Rename(fresh, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// openBolt opens the file with the options measured to suit a queue: with pages of 16 KiB seven messages of 2 KB share a
// page where at 4 KiB each takes one; the free list stays on disk, because without it a start reads every page.
func openBolt(path string, readOnly bool) (*bbolt.DB, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout:      lockPatience,
		ReadOnly:     readOnly,
		PageSize:     16 << 10,
		FreelistType: bbolt.FreelistMapType,
		NoStatistics: true,
	})
	switch {
	case err == nil:
		return db, nil
	case errors.Is(err, boltErrors.ErrTimeout):
		return nil, ErrLocked
	case errors.Is(err, boltErrors.ErrInvalid), errors.Is(err, boltErrors.ErrVersionMismatch), errors.Is(err, boltErrors.ErrChecksum):
		return nil, fmt.Errorf("%s: %w", filepath.Base(path), ErrForeign)
	}
	return nil, err
}
