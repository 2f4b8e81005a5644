"""What a profile has started around its workload: an emulated link, servers."""
