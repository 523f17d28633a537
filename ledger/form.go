package ledger

import (
	"fmt"
	"hash/fnv"
	"io"
	"reflect"
	"sync"

	"github.com/dartwing/jobledger/schemas"
)

// viewsForm rises when the documents of views come to say something else of the same events, in the same fields.
const viewsForm = 2

// ViewsForm names what this version's views make of the ledger. Views of another form were written by a version that
// reads other events, or writes other documents: the leader writes them anew, and Verify does not judge them.
//
// It changes by itself with the fields of events, settings among them, and of documents.
var ViewsForm = sync.OnceValue(func() string {
	h := fnv.New64a()
	for _, document := range []any{Record{}, CountDocument{}, CountsDocument{}, SettingDocument[any]{}} {
		writeShape(h, reflect.TypeOf(document))
	}
	return fmt.Sprintf("%d-%s-%016x", viewsForm, schemas.Fingerprint(), h.Sum64())
})

// writeShape writes what of a type can be seen in JSON: the names of its fields and what they are in the end. No type
// that a document holds contains itself.
func writeShape(w io.Writer, t reflect.Type) {
	fmt.Fprint(w, t.Kind(), "(")
	switch t.Kind() {
	case reflect.Struct:
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() { // time.Time has none
				fmt.Fprint(w, f.Name, " ", f.Tag, " ")
				writeShape(w, f.Type)
			}
		}
	case reflect.Map:
		writeShape(w, t.Key())
		writeShape(w, t.Elem())
	case reflect.Pointer, reflect.Slice, reflect.Array:
		writeShape(w, t.Elem())
	}
	fmt.Fprint(w, ")")
}
