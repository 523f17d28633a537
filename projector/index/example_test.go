package index_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/dartwing/jobledger/internal/where"
	"github.com/dartwing/jobledger/projector/index"
)

// A filter is answered page by page, the latest submitted first.
func ExampleIndex_Find() {
	var x *index.Index // which Run keeps
	w, err := where.Parse("state:dead_lettered args.user.id:4711")
	if err != nil {
		log.Fatal(err)
	}
	q := index.Query{Org: "acme", Where: w, Limit: 20, Now: time.Now()}
	for more := true; more; more = q.Before != 0 {
		page, err := x.Find(context.Background(), &q)
		if err != nil {
			log.Fatal(err)
		}
		for _, r := range page.Records {
			fmt.Println(r.ID, r.State)
		}
		q.Before = page.Next
	}
}
