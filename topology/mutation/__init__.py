"""Evidence that the checks can fail: one change at a time to a running lab, each of which has to turn a cell red."""
