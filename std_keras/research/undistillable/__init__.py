"""Nasty teachers (Ma et al. 2021) and skeptical students (Kundu et al. 2021)."""
