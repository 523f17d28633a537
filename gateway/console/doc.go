// Package console is the web console: pages that show the ledger and act on it, embedded in the binary.
//
// It is a handler of static files and nothing else: what the pages know they ask of the public API below v1/, with the
// rights of whoever looks (INTERFACE 7). Who embeds it serves that API beside it, under the same prefix:
//
//	mux.Handle("/jobs/v1/", http.StripPrefix("/jobs", gateway.HTTP(...)))
//	mux.Handle("/jobs/", http.StripPrefix("/jobs", console.Handler(console.Config{})))
//
// # What is here
//
//	src/     the pages: ES modules with JSX, one CSS file
//	vendor/  Preact, signals and uPlot as their authors ship them, with their licences
//	dist/    both bundled by `make console`, committed, so that go install needs neither node nor a network
//
// dist/SOURCES lists the hash of every source that dist was made of; a test compares. `make browser` looks at the pages
// with Chromium.
//
// # Invariants
//
//   - Nothing is loaded from elsewhere, and no script or style stands in a page: the content security policy is
//     default-src 'self'. A text of a job is text, never markup.
//   - The pages know no absolute path. index.html is given the way back to where the console is mounted, which follows from
//     how deep the path of the request is: any prefix works, also one that a proxy has cut off.
//   - A file in assets/ has the hash of its content in its name and is kept for ever; index.html is asked for each time.
package console
