"""`tacho models`: trained models of behaviour, put in force and tried in the shadow."""
