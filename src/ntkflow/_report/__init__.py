"""What a person reads: the command line, tables, pictures, descriptions and progress."""
