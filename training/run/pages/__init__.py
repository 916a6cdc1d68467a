"""What is shown of runs: pictures, tables, pages of HTML."""
