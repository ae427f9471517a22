package cli

import "github.com/spf13/pflag"

// Capabilities is what --print-capabilities answers, by the back-end program conventions of QEMU's docs/interop
// (vhost-user.rst and vhost-user.json: VHostUserBackendCapabilitiesBlock).
const Capabilities = `{"type":"block","features":["read-only","blk-file"]}` + "\n"

// WantsCapabilities tells whether args ask for Capabilities; all other arguments are to be ignored then, wrong ones
// included.
func WantsCapabilities(args []string) bool {
	for _, a := range args {
		switch a {
		case "--":
			return false
		case "--print-capabilities", "--print-capabilities=true", "--print-capabilities=on":
			return true
		}
	}
	return false
}

// AddPrintCapabilities adds the flag to help; WantsCapabilities acts on it before flags are parsed.
func AddPrintCapabilities(flags *pflag.FlagSet) {
	flags.Bool("print-capabilities", false, "print what this back-end can do as JSON, for management software, and ignore all other options")
}
