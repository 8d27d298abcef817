"""Labelled data sets, a file for each layout: whether a folder has it, and its records.

    kinds          images and volumes of one kind in a folder, with their masks; for the layouts below
    mvtec          MVTec AD, LOCO and AD 2, BTAD
    folder_layout  normal images in one folder, others beside it
    visa, bmad, dagm, elpv, real_iad, kolektor, kaputt, brats

Which of them a folder has is decided in `../layouts.py`.
"""
