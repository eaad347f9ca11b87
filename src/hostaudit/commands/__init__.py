"""One module per command, with the command's name: ``command`` is its click command. Imported when it is called."""
