"""Packages of skills and agents: installed by digest, quarantined until a person accepts what they want."""
