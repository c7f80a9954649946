"""What is written for a PACS: segmentation, structured report, picture and contours, all of one series.

highdicom is an extra ([dicom]); it is imported where an object is made.
"""
