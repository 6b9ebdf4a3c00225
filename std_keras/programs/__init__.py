"""The command line: flags, exit codes, signals. Nothing outside this folder knows about flags."""
