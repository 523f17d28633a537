package handlers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

type codedError struct{ error }

func (codedError) Code() string { return "line_busy" }

type sqlError string

func (s sqlError) Error() string    { return "sql " + string(s) }
func (s sqlError) SQLState() string { return string(s) }

// TestClassify shows and the order of R-506.
func TestClassify(t *testing.T) {
	plain := errors.New("boom")
	dial := &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	all := func(c schemas.ErrorClass) func(error) schemas.ErrorClass {
		return func(error) schemas.ErrorClass { return c }
	}
	const transient, permanent, unclassified = schemas.ClassTransient, schemas.ClassPermanent, schemas.ClassUnclassified
	for name, c := range map[string]struct {
		err     error
		mapping func(error) schemas.ErrorClass
		class   schemas.ErrorClass
		code    string
		after   time.Duration
	}{
		"anything else":                     {err: plain, class: unclassified},
		"marked permanent":                  {err: fmt.Errorf("wrapped: %w", Permanent(plain)), class: permanent},
		"marked transient":                  {err: Transient(fs.ErrNotExist), class: transient, code: CodeNotFound},
		"retry after":                       {err: RetryAfter(plain, time.Minute), class: transient, after: time.Minute},
		"retry after is at most 24 h":       {err: RetryAfter(plain, 240*time.Hour), class: transient, after: 24 * time.Hour},
		"network refused":                   {err: fmt.Errorf("call: %w", dial), class: transient, code: CodeNetwork},
		"reset":                             {err: syscall.ECONNRESET, class: transient, code: CodeNetwork},
		"dns":                               {err: &net.DNSError{Err: "no such host", IsNotFound: true}, class: transient, code: CodeDNS},
		"timeout":                           {err: context.DeadlineExceeded, class: transient, code: CodeTimeout},
		"disk full":                         {err: &fs.PathError{Op: "write", Err: syscall.ENOSPC}, class: transient, code: CodeResources},
		"database deadlock":                 {err: sqlError("40P01"), class: transient, code: CodeDatabase},
		"database syntax":                   {err: sqlError("42601"), class: unclassified},
		"socket file missing is network":    {err: &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ENOENT)}, class: transient, code: CodeNetwork},
		"permission":                        {err: &fs.PathError{Op: "open", Err: syscall.EACCES}, class: permanent, code: CodeDenied},
		"not found":                         {err: fs.ErrNotExist, class: permanent, code: CodeNotFound},
		"HTTP 408":                          {err: &StatusError{Status: 408}, class: transient, code: "http_408"},
		"HTTP 425":                          {err: &StatusError{Status: 425}, class: transient, code: "http_425"},
		"HTTP 429 with wait":                {err: &StatusError{Status: 429, RetryAfter: time.Hour}, class: transient, code: "http_429", after: time.Hour},
		"HTTP 599":                          {err: fmt.Errorf("x: %w", &StatusError{Status: 599}), class: transient, code: "http_599"},
		"HTTP 404":                          {err: &StatusError{Status: 404, RetryAfter: time.Hour}, class: permanent, code: "http_404"},
		"HTTP 302":                          {err: &StatusError{Status: 302}, class: permanent, code: "http_302"},
		"mapping over status":               {err: &StatusError{Status: 404}, mapping: all(transient), class: transient, code: "http_404"},
		"mapping that does not know":        {err: &StatusError{Status: 404}, mapping: all(""), class: permanent, code: "http_404"},
		"mark over mapping":                 {err: Permanent(plain), mapping: all(transient), class: permanent},
		"code of the handler's own":         {err: fmt.Errorf("dial: %w", codedError{plain}), class: unclassified, code: "line_busy"},
		"panic":                             {err: &panicError{value: Permanent(plain)}, class: unclassified, code: CodePanic},
		"wrapped in a list, first one wins": {err: errors.Join(plain, dial), class: transient, code: CodeNetwork},
	} {
		t.Run(name, func(t *testing.T) {
			v := Classify(c.err, c.mapping)
			if v.Canceled || v.Error.Class != c.class || v.Error.Code != c.code || v.RetryAfter != c.after {
				t.Errorf("got %+v, want class %s, code %q, after %s", v, c.class, c.code, c.after)
			}
			if v.Error.Message == "" {
				t.Error("no message")
			}
		})
	}
}

// TestClassifyRecords shows what R-506 records besides class and code.
func TestClassifyRecords(t *testing.T) {
	v := Classify(fmt.Errorf("send fax: %w", &StatusError{Status: 503, Message: "maintenance"}), nil)
	if v.Error.RemoteStatus != 503 || v.Error.Message != "send fax: HTTP 503: maintenance" || v.Error.Cause != "HTTP 503: maintenance" {
		t.Errorf("record %+v", v.Error)
	}
	long := Classify(errors.New(strings.Repeat("é", messageMax)), nil)
	if n := len(long.Error.Message); n > messageMax || n < messageMax-2 || strings.ContainsRune(long.Error.Message, '\uFFFD') {
		t.Errorf("message of %d bytes is not cut at a character", n)
	}
	if v := Classify(errors.New("bad \xff byte"), nil); v.Error.Message != "bad \uFFFD byte" {
		t.Errorf("message %q", v.Error.Message)
	}
}

// TestClassifyCanceled shows: a handler ends its job as canceled, with a reason.
func TestClassifyCanceled(t *testing.T) {
	if v := Classify(fmt.Errorf("stop: %w", Canceled("customer hung up")), nil); !v.Canceled || v.Reason != "stop: customer hung up" {
		t.Errorf("got %+v", v)
	}
	if v := Classify(Canceled(""), nil); !v.Canceled || v.Reason == "" {
		t.Errorf("no reason in %+v", v)
	}
}

func TestMarksKeepNil(t *testing.T) {
	if Permanent(nil) != nil || Transient(nil) != nil || RetryAfter(nil, time.Second) != nil {
		t.Error("a mark made an error of nil")
	}
}

func thrower() { panic("deliberate") }

// TestPanicStack shows that the stack kept begins where the panic was, not in our recovery.
func TestPanicStack(t *testing.T) {
	var p *panicError
	func() {
		defer func() { p = newPanic(recover()) }()
		thrower()
	}()
	first, _, _ := strings.Cut(p.stack, "\n")
	if !strings.Contains(first, "handlers.thrower") || len(p.stack) > stackMax {
		t.Errorf("stack begins with %q and has %d bytes", first, len(p.stack))
	}
	if v := Classify(p, nil); v.Error.Message != "panic: deliberate" || v.Error.Stack != p.stack {
		t.Errorf("got %+v", v.Error)
	}
}
