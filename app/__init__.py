"""The review app: Streamlit pages over the stored tables. It reads through ``store`` and writes nothing."""
