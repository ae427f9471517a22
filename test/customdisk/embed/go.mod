module example.com/embed

go 1.26.0

replace github.com/vublk/vublk => ../../..

require (
	github.com/pkg/errors v0.9.1
	github.com/vublk/vublk v0.0.0-00010101000000-000000000000
)

require golang.org/x/sys v0.49.0 // indirect
