package ledger_test

import (
	"fmt"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// What a command means in a state is one pure function, what an event means another.
func ExampleDecide() {
	j := new(ledger.Job)
	data, err := ledger.Decide(j, &ledger.Begin{Spec: schemas.Submitted{Type: "echo", Queue: "default", Priority: schemas.PriorityNormal}})
	if err != nil {
		fmt.Println(err)
		return
	}
	e := schemas.NewEvent(schemas.JobSubject("acme", "job-1"), data)
	e.Seq = 1 // Append does this
	fmt.Println(ledger.Apply(j, e), j.State)

	_, err = ledger.Decide(j, &ledger.Claim{Generation: j.Generation, Submitted: j.SubmittedSeq, Session: "s", Worker: "w"})
	fmt.Println(err)
	// Output:
	// true submitted
	// cannot claim a job that is submitted
}
