"""The script that Streamlit runs, in a folder of its own because Streamlit puts it on the path."""
