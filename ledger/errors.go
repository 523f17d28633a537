package ledger

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/nats-io/nats.go"
)

// Code is one of the closed set of error codes of R-720. Codes are stable, texts are not.
type Code string

// The codes.
const (
	CodeInvalidArgument  Code = "invalid_argument"
	CodeUnknownType      Code = "unknown_type"
	CodeTypeDisabled     Code = "type_disabled"
	CodeUnauthenticated  Code = "unauthenticated"
	CodePermissionDenied Code = "permission_denied"
	CodeOrgSuspended     Code = "org_suspended"
	CodeNotFound         Code = "not_found"
	CodeOrgNotFound      Code = "org_not_found"
	CodeDuplicate        Code = "duplicate"
	CodeIDConflict       Code = "id_conflict"
	CodeInvalidState     Code = "invalid_state"
	CodeInUse            Code = "in_use"
	CodeVersionConflict  Code = "version_conflict"
	CodeStaleAttempt     Code = "stale_attempt"
	CodePositionExpired  Code = "position_expired"
	CodePayloadTooLarge  Code = "payload_too_large"
	CodeQueueFull        Code = "queue_full"
	CodeRateLimited      Code = "rate_limited"
	CodeInternal         Code = "internal"
	CodeUnavailable      Code = "unavailable"
)

// Status is the code's HTTP equivalent; 500 for a code that is none of the set.
func (c Code) Status() int {
	switch c {
	case CodeInvalidArgument, CodeUnknownType, CodeTypeDisabled:
		return http.StatusBadRequest
	case CodeUnauthenticated:
		return http.StatusUnauthorized
	case CodePermissionDenied, CodeOrgSuspended:
		return http.StatusForbidden
	case CodeNotFound, CodeOrgNotFound:
		return http.StatusNotFound
	case CodeDuplicate, CodeIDConflict, CodeInvalidState, CodeInUse, CodeVersionConflict, CodeStaleAttempt:
		return http.StatusConflict
	case CodePositionExpired:
		return http.StatusGone
	case CodePayloadTooLarge:
		return http.StatusRequestEntityTooLarge
	case CodeQueueFull, CodeRateLimited:
		return http.StatusTooManyRequests
	case CodeUnavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// Codes lists the closed set.
func Codes() []Code {
	return []Code{CodeInvalidArgument, CodeUnknownType, CodeTypeDisabled, CodeUnauthenticated,
		CodePermissionDenied, CodeOrgSuspended, CodeNotFound, CodeOrgNotFound, CodeDuplicate, CodeIDConflict,
		CodeInvalidState, CodeInUse, CodeVersionConflict, CodeStaleAttempt, CodePositionExpired,
		CodePayloadTooLarge, CodeQueueFull, CodeRateLimited, CodeInternal, CodeUnavailable}
}

// Keys and values of Error.Details.
const (
	DetailReason = "reason" // a finer code, such as ReasonOutcomeUnknown
	DetailField  = "field"  // JSON pointer or name of the argument at fault
	DetailSeq    = "seq"    // of a version_conflict: the event that set what is in force, 0 if nothing ever was
	DetailActor  = "actor"  // who did that
	DetailTime   = "time"   // when

	// ReasonOutcomeUnknown: the event may or may not be stored. It is never a refusal: ask for the job, or
	// repeat with the same id or key.
	ReasonOutcomeUnknown = "outcome_unknown"
	// ReasonNoResponse: no server took the event; nothing is stored.
	ReasonNoResponse = "no_response"
	// ReasonUnreadable: the job holds an event that only a newer version can read.
	ReasonUnreadable = "unreadable"
)

// Error is what a user of the ledger gets where a code applies: returned, or wrapped.
type Error struct {
	Code    Code
	Message string
	Field   string         // the argument at fault, if one is
	Details map[string]any // further facts, for machines
	Cause   error          // what it came from; errors.Is and errors.As look into it
}

// Error implements error.
func (e *Error) Error() string {
	if e.Field != "" {
		return string(e.Code) + ": " + e.Field + ": " + e.Message
	}
	return string(e.Code) + ": " + e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Errorf returns an Error whose message is formatted; the last error among args becomes its cause.
func Errorf(code Code, format string, args ...any) *Error {
	e := &Error{Code: code, Message: fmt.Sprintf(format, args...)}
	for _, a := range args {
		if err, ok := a.(error); ok {
			e.Cause = err
		}
	}
	return e
}

// badField returns invalid_argument about one field.
func badField(field string, err error) *Error {
	return &Error{Code: CodeInvalidArgument, Message: err.Error(), Field: field, Cause: err,
		Details: map[string]any{DetailField: field}}
}

// with adds one detail and returns e.
func (e *Error) with(key string, value any) *Error {
	if e.Details == nil {
		e.Details = make(map[string]any)
	}
	e.Details[key] = value
	return e
}

// AsError returns err as an *Error, giving it the code that fits; nil for nil. What has no code of its own
// is internal, or unavailable when it is the engine or the time that gave out.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	e := &Error{Code: CodeInternal, Message: err.Error(), Cause: err}
	var state *StateError
	switch {
	case errors.As(err, &state):
		e.Code = CodeInvalidState
		e.with("state", string(state.State))
	case errors.Is(err, ErrNotFound):
		e.Code = CodeNotFound
	case errors.Is(err, ErrPositionExpired):
		e.Code = CodePositionExpired
	case errors.Is(err, ErrStaleAttempt):
		e.Code = CodeStaleAttempt
	case errors.Is(err, ErrUnreadable):
		e.Code = CodeUnavailable
		e.with(DetailReason, ReasonUnreadable)
	case errors.Is(err, ErrUnknown):
		e.Code = CodeUnavailable
		e.with(DetailReason, ReasonOutcomeUnknown)
	case passing(err):
		e.Code = CodeUnavailable
	}
	return e
}

// unreachable reports an error that says nothing about the request: nobody answered, or not in time.
func unreachable(err error) bool {
	for _, target := range []error{context.DeadlineExceeded, context.Canceled, nats.ErrTimeout, nats.ErrNoResponders,
		nats.ErrConnectionClosed, nats.ErrConnectionDraining, nats.ErrDisconnected, nats.ErrReconnectBufExceeded,
		nats.ErrNoServers, nats.ErrStaleConnection, nats.ErrConnectionReconnecting} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}
