// Package packs puts many messages of a fast consumer into one on their way from an embedded server to the NATS client.
//
// A server that starts folds its whole ledger, and of what reading one event costs, a third is the client's: it parses
// each message's headers into a map, and copies and queues it for itself. Conn stands between the two. Where more than one
// message of a consumer that is named for it waits in the connection, it hands them on as one message whose body is the
// messages as the server sent them, frame by frame; the reader takes them apart with Next. Everything else passes as it
// is, in its order: whoever reads such a consumer takes both, and over any other connection gets single messages only.
//
// Nothing is stored in this form.
package packs
