"""How fast and how large LeMoRe is on this machine; what ``lemore benchmark`` prints."""
