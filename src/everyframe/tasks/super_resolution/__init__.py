"""Pictures and video, two to four times larger.

resize, metrics        the field's bicubic; PSNR and SSIM
pictures, cache        large pictures and their small ones, in folders; their luma on disk
sized, enhance, apply  a model for pictures of any size; a picture made larger; files and videos
evaluate               PSNR and SSIM of a model
network, crops, objective, run    the network, its training, and the finished model (torch)
choices, searched      what a search of it chooses from (torch)
"""
