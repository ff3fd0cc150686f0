"""What keeps a store well: acceptances, verification, removal, and what is kept."""
