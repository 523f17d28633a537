package gateway

import _ "embed"

// openAPI describes the HTTP API, as /v1/openapi.json serves it. A test makes it from the routes and the forms of their bodies
// and proves it current; `make golden` writes it.
//
//go:embed openapi.json
var openAPI []byte

// OpenAPI returns the OpenAPI document of the HTTP API. Nobody may change it.
func OpenAPI() []byte { return openAPI }
