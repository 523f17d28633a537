package handlers

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dartwing/jobledger/schemas"
)

// Bounds of the parts of an error record; together they stay below schemas.ErrorTextMax.
const (
	messageMax = 8 << 10 // bytes
	causeMax   = 1 << 10 // bytes
	stackMax   = 6 << 10 // bytes
	reasonMax  = schemas.ReasonMax
)

// Codes of error records made here. Handlers may use others: an error in the chain with a method
// Code() string names its own.
const (
	CodeInvalidArgs   = "invalid_args"   // args did not decode
	CodeInvalidResult = "invalid_result" // the result is too big or no JSON
	CodePanic         = "panic"
	CodeDeadline      = "deadline" // the attempt passed its timeout
	CodeNetwork       = "network"
	CodeTimeout       = "timeout"
	CodeDNS           = "dns"
	CodeResources     = "resources" // memory, disk or file descriptors exhausted
	CodeDatabase      = "database"
	CodeDenied        = "permission_denied"
	CodeNotFound      = "not_found"
	CodeAddress       = "address_refused" // the SSRF guard of HTTP
	CodeSignal        = "signal"

	CodeArgsMissing         = "args_missing"          // args by reference are not in their object store
	CodeArgsCorrupt         = "args_corrupt"          // they are not what the job's event says
	CodeArgsUnavailable     = "args_unavailable"      // the object store did not answer
	CodeParentsUnavailable  = "parents_unavailable"   // how the parents ended could not be read
	CodeParentResultMissing = "parent_result_missing" // a parent's result by reference is gone, or not what it was

	CodeResultNotStored = "result_not_stored" // the object store refuses the result
)

// marked is an error whose class is known, by the handler's own word.
type marked struct {
	err    error
	class  schemas.ErrorClass // empty: the class of err
	code   string
	after  time.Duration
	cancel bool // err's text is the reason
}

// Error implements error.
func (m *marked) Error() string { return m.err.Error() }

// Unwrap returns the error that was marked.
func (m *marked) Unwrap() error { return m.err }

// Permanent marks err as one that no retry can mend: the job is dead-lettered at once. nil stays nil.
func Permanent(err error) error { return mark(err, marked{class: schemas.ClassPermanent}) }

// Transient marks err as one that a retry may mend. nil stays nil.
func Transient(err error) error { return mark(err, marked{class: schemas.ClassTransient}) }

// RetryAfter is Transient with the wait that the other side asked for: the retry comes after the longer of
// d and the backoff, at most 24 h. nil stays nil.
func RetryAfter(err error, d time.Duration) error {
	return mark(err, marked{class: schemas.ClassTransient, after: min(max(d, 0), schemas.RetryAfterMax)})
}

// Canceled is returned by a handler that ends its own job as canceled: neither failure nor retry.
func Canceled(reason string) error {
	if reason == "" {
		reason = "canceled by its handler"
	}
	return &marked{err: errors.New(reason), cancel: true}
}

func mark(err error, m marked) error {
	if err == nil {
		return nil
	}
	m.err = err
	return &m
}

// StatusError is an answer of a remote side that is not a success. Handlers that call HTTP services may
// return one: its status decides the class.
type StatusError struct {
	Status     int           // HTTP status
	RetryAfter time.Duration // what the answer's Retry-After asked for, else 0
	Message    string        // what the remote side said, bounded
}

// Error implements error.
func (e *StatusError) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("HTTP %d", e.Status)
	}
	return fmt.Sprintf("HTTP %d: %s", e.Status, e.Message)
}

// class is: 408, 425, 429 and every 5xx may pass, every other status is an answer.
func (e *StatusError) class() schemas.ErrorClass {
	switch {
	case e.Status == 408, e.Status == 425, e.Status == 429, e.Status >= 500 && e.Status <= 599:
		return schemas.ClassTransient
	}
	return schemas.ClassPermanent
}

// panicError is a panic of a handler, with its stack. It does not unwrap: whatever was thrown, a panic is a
// bug and stays unclassified.
type panicError struct {
	value any
	stack string
}

// Error implements error.
func (p *panicError) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// newPanic records a recovered panic. It must be called in the deferred function that recovered it, whose
// stack still holds the frames that panicked.
func newPanic(value any) *panicError {
	buf := make([]byte, 64<<10)
	stack := string(buf[:runtime.Stack(buf, false)])
	// The frames above the panic are this recovery's own.
	if _, below, ok := strings.Cut(stack, "\npanic("); ok {
		if _, frames, ok := strings.Cut(below, "\n\t"); ok {
			_, stack, _ = strings.Cut(frames, "\n")
		}
	}
	return &panicError{value: value, stack: cut(stack, stackMax)}
}

// Verdict is what an error means for its attempt.
type Verdict struct {
	// Canceled: the handler ended the job as canceled; Reason says why and Error is empty.
	Canceled bool
	Reason   string
	// Error is the record to store, bounded.
	Error schemas.JobError
	// RetryAfter is the wait that was asked for; 0 where none was.
	RetryAfter time.Duration
}

// Classify judges a handler's error by the order of R-506: the handler's mark, the type's own mapping
// (mapping may be nil; it returns "" where it does not know), a remote status, known kinds of errors,
// unclassified. A wrapped cause counts as its wrapper. err must not be nil.
func Classify(err error, mapping func(error) schemas.ErrorClass) Verdict {
	var m *marked
	isMarked := errors.As(err, &m)
	if isMarked && m.cancel {
		return Verdict{Canceled: true, Reason: cut(err.Error(), reasonMax)}
	}
	v := Verdict{Error: schemas.JobError{Class: schemas.ClassUnclassified, Message: cut(err.Error(), messageMax), Cause: causeOf(err)}}
	class, code := kindOf(err)
	if class != "" {
		v.Error.Class = class
	}
	v.Error.Code = code
	var status *StatusError
	if errors.As(err, &status) {
		v.Error.Class, v.Error.Code = status.class(), fmt.Sprintf("http_%d", status.Status)
		v.Error.RemoteStatus, v.RetryAfter = status.Status, status.RetryAfter
	}
	if p := (*panicError)(nil); errors.As(err, &p) {
		v.Error.Class, v.Error.Code, v.Error.Stack = schemas.ClassUnclassified, CodePanic, p.stack
	}
	if c := interface{ Code() string }(nil); errors.As(err, &c) {
		v.Error.Code = cut(c.Code(), schemas.TokenMax)
	}
	if mapping != nil {
		if class := mapping(err); class == schemas.ClassTransient || class == schemas.ClassPermanent || class == schemas.ClassUnclassified {
			v.Error.Class = class
		}
	}
	if isMarked {
		applyMark(&v, m)
	}
	v.RetryAfter = min(max(v.RetryAfter, 0), schemas.RetryAfterMax)
	if v.Error.Class == schemas.ClassPermanent {
		v.RetryAfter = 0
	}
	return v
}

func applyMark(v *Verdict, m *marked) {
	if m.class != "" {
		v.Error.Class = m.class
	}
	if m.code != "" {
		v.Error.Code = m.code
	}
	if m.after > 0 {
		v.RetryAfter = m.after
	}
}

// causeOf is the text of the innermost wrapped error, where it says something that the message is not.
func causeOf(err error) string {
	root := err
	for {
		next := errors.Unwrap(root)
		if next == nil {
			if many, ok := root.(interface{ Unwrap() []error }); ok && len(many.Unwrap()) > 0 {
				next = many.Unwrap()[0]
			}
		}
		if next == nil {
			break
		}
		root = next
	}
	if text := root.Error(); text != err.Error() {
		return cut(text, causeMax)
	}
	return ""
}

// cut bounds s to n bytes of valid UTF-8 without splitting a character.
func cut(s string, n int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// cutRunes bounds s to n characters of valid UTF-8.
func cutRunes(s string, n int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= n { // bytes: never fewer than characters
		return s
	}
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}
