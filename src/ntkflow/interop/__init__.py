"""Networks of other libraries: each module needs the library it is named after, and is imported by its own name."""
