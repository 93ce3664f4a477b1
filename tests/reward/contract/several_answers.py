print("48\n49\n50")
