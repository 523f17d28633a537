package schemas_test

import (
	"fmt"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// An event is written with Encode and read back with Decode; sequence and time are the stream's.
func Example() {
	e := schemas.NewEvent(schemas.JobSubject("acme", "job-1"), &schemas.Submitted{
		Type: "email-send", Queue: "default", Priority: schemas.PriorityNormal, Generation: 1, Args: []byte(`{"to": "ada"}`)})
	e.ID = "01938d4a-7c00-7abc-8def-0123456789ab" // NewEvent has made a fresh one
	e.Actor = schemas.Actor{Type: "user", ID: "ada"}
	m, err := e.Encode()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(m.Subject, m.Header[schemas.HeaderType][0])
	fmt.Println(string(m.Data))
	stored, err := schemas.Decode(m.Subject, m.Header, m.Data, 7, time.Date(2026, 11, 23, 14, 0, 0, 0, time.UTC))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(stored.Seq, stored.Name(), "by", stored.Actor)
	// Output:
	// jobs.acme.job-1 jobledger.v1.submitted
	// {"type":"email-send","queue":"default","priority":"normal","generation":1,"args":{"to": "ada"}}
	// 7 submitted by user:ada
}
