"""From a user's file to the rows that training reads.

    options.py                       what a user may declare, and the fixes there are            light
    encoding.py dialect.py           what a file is made of                                     light
    readers.py json_stream.py        a file as a header and a stream of rows                    light
    roles.py                         which column plays which role                              light
    splits.py                        which row goes to train, validation or test                light
    damage.py                        text that went through a wrong encoding, and its repair    light
    staging.py placing.py writing.py rows by column, where each goes, the file in its order     heavy (pyarrow)
    prepare.py                       the whole way, in constant memory                          heavy (pyarrow)
    checks.py stats.py diff.py       questions to the rows, asked in DuckDB                     light

Does not know where files come from or who asks: `apps.datasets` does.
"""
