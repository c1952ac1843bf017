"""Where objects lie, whatever they are: a folder, or an object store."""
