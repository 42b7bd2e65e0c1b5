"""The page: segment by examples, see which support pixels decided, measure how true that is.

A thin Streamlit page. All computing is done by plain functions of :mod:`mmfss.apis`. The models are the only thing that
sessions share; everything of a visitor is in the session's state.
"""
