"""What every run does, whatever it trains: loop, recorder, run folder, device, processes."""
