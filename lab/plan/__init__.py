"""What is to be done and in which order: jobs (pure) and the schedule that works them off."""
