"""Blind human comparisons: `prepare` makes a study of folders, `server` shows it, `tally` counts, `report` draws.

    design      what a study is: study.json
    prepare     folders of photographs -> a study folder, in which nothing but study.json knows who made what
    folders     which files belong together, and whether they can be shown alike
    settings    what can be chosen, and what the protocols say otherwise
    blinding    pictures that differ in nothing but their pixels
    trials      what one participant is asked, from a seed
    store       participants, showings and votes in SQLite
    server      the page and its few addresses
    statistics  Wilson intervals, binomial test, Krippendorff's alpha
    tally       votes -> preferences, or the share of fooled answers
    report      a tally as JSON and as one HTML page

Nothing here needs PyTorch.
"""
