"""What a result will look like and cost, how good one is, and watching it being made: pages that open offline."""
