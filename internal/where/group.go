package where

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// normalMax is how much of a message makes a group, in letters: what differs behind it is detail.
const normalMax = 200

// Group is what the dead letters of one group by error have in common.
type Group struct {
	Type    schemas.TypeName
	Class   schemas.ErrorClass
	Reason  string
	Message string // without numbers and ids
}

// GroupOf is the group of a dead letter.
func GroupOf(r *ledger.Record) Group {
	g := Group{Type: r.Type}
	if r.Reason != nil {
		g.Reason = *r.Reason
	}
	if r.Error != nil {
		g.Class, g.Message = r.Error.Class, NormalError(r.Error.Message)
	}
	return g
}

// Key names the group on a command line. It is the same on every server and in every version, as long as
// NormalError is.
func (g Group) Key() string {
	sum := sha256.Sum256([]byte(strings.Join([]string{string(g.Type), string(g.Class), g.Reason, g.Message}, "\x00")))
	return hex.EncodeToString(sum[:6])
}

var (
	uuidPattern   = regexp.MustCompile(`[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}`)
	hexPattern    = regexp.MustCompile(`\b(0[xX][0-9a-fA-F]+|[0-9a-fA-F]{8,})\b`)
	numberPattern = regexp.MustCompile(`[0-9]+`)
)

// NormalError is an error message without what differs from job to job: ids become <id>, hexadecimal numbers
// <hex>, other numbers <n>; white space is one blank; only the beginning counts.
func NormalError(message string) string {
	// Cut before the search too: a message may be 16 KiB of stack.
	s := strings.Join(strings.Fields(Cut(message, 4*normalMax)), " ")
	s = uuidPattern.ReplaceAllString(s, "<id>")
	s = hexPattern.ReplaceAllStringFunc(s, func(word string) string {
		if !strings.ContainsAny(word, "0123456789") {
			return word // letters alone are a word, such as "deadbeef" or "accede"
		}
		if strings.Trim(word, "0123456789") == "" {
			return "<n>"
		}
		return "<hex>"
	})
	return Cut(numberPattern.ReplaceAllString(s, "<n>"), normalMax)
}

// Cut is the beginning of a text, of so many letters at most.
func Cut(s string, max int) string {
	n := 0
	for i := range s {
		if n == max {
			return s[:i]
		}
		n++
	}
	return s
}
