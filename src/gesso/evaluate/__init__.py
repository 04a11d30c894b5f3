"""Measuring: each module is one family of numbers; the protocol stands beside every number.

segmentation    accuracy and IoU of re-segmented results, from one confusion matrix
features        pictures to feature vectors, kept on the disk
fid             Fréchet and kernel distances between two sets of pictures
neighbours      precision, recall, density and coverage
diversity       how far apart results for one layout are
faithfulness    where a result does not show what its layout says, and at which objects
paired          L1, PSNR and SSIM against the photograph that belongs to the layout
intervals       how sure a number is
numbers         measured values with their intervals, or why there is none
measuring       one set of pictures to one row of the table, picture by picture
styling         what styles do to a model's pictures
"""
