"""`tacho query`: hunts that ship as files, and plain SQL, asked as a reader."""
