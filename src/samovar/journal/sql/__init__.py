"""The journal in a database: SQLite in a file, or PostgreSQL.

``schema`` has the tables and how an older database becomes a new one, ``dialects`` all in which the two databases
differ, ``rows`` entries as rows and back, ``store`` what the writer commits to, ``journal`` the questions. SQLAlchemy
is imported here and nowhere else.
"""
