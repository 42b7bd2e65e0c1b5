"""Run the page."""
from mmfss.app.page import main

main()
