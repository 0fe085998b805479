"""The rules, by what they are about; `RULES` in `catalog` lists them all.  Each docstring says why."""
