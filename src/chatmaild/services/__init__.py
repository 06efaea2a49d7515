"""The daemons and jobs: one thin module a unit, none of which imports another."""
