"""What can be wrong with journeys whose every word is allowed."""
