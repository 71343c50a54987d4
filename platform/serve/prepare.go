package serve

import (
	"io"
	"os"
	"runtime/debug"

	"google.golang.org/grpc/grpclog"
)

// collectAt is by how much of what lives the heap grows until it is collected, in percent. These services hold little and
// allocate much: at Go's 100 a tenth of their CPU goes into collecting.
const collectAt = 200

// Prepare sets up the process, as Main does; a program that runs services without Main calls it first. Libraries log nothing by
// themselves (grpc and grpc-gateway would log what clients send as free text; what matters in it reaches the service's own log),
// and the heap grows further between collections, unless GOGC says how far.
func Prepare() {
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
}
