package cli

import (
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// files are what help writes for the name of a file: shells complete it by themselves.
var files = regexp.MustCompile(`^(FILE|PATH|SOCKET|STORE|ADDRESS|KEY=)`)

// TeachCompletion tells shells what flags of cmd and its subcommands take, as far as their help says it: words to choose from,
// files, directories, or what only people know. A flag that has been given completions keeps them.
func TeachCompletion(cmd *cobra.Command) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if _, there := cmd.GetFlagCompletionFunc(f.Name); there {
			return
		}
		value := FlagValue(f)
		var words []string
		for _, w := range strings.Split(value, "|") {
			if w != "" && strings.ToLower(w) == w {
				words = append(words, w)
			}
		}
		complete := cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
		switch {
		case files.MatchString(value):
			complete = cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault)
		case value == "DIRECTORY":
			complete = cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs)
		}
		_ = cmd.RegisterFlagCompletionFunc(f.Name, complete) // it fails for a flag that does not exist or has one
	})
	if cmd.ValidArgsFunction == nil && !strings.Contains(cmd.Use, " ") {
		cmd.ValidArgsFunction = cobra.NoFileCompletions // it takes options only
	}
	for _, sub := range cmd.Commands() {
		TeachCompletion(sub)
	}
}
