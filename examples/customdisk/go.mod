// A module of its own, as yours is: what it uses of vublk is public.
module example.com/customdisk

go 1.26.0

replace github.com/vublk/vublk => ../..

require (
	github.com/vublk/vublk v0.0.0-00010101000000-000000000000
	golang.org/x/crypto v0.58.0
)

require (
	github.com/pkg/errors v0.9.1 // indirect
	golang.org/x/sys v0.49.0 // indirect
)
