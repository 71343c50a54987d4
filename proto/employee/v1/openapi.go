// Package employeev1 is the contract of the employee service, generated from its .proto files.
package employeev1

import _ "embed"

// OpenAPI is the OpenAPI 2.0 description of the REST form of this contract.
//
//go:embed openapi.swagger.json
var OpenAPI []byte
