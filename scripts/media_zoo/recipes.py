"""The files of the zoo: ffmpeg's arguments for each, by name; tiny, and the same bytes each time one ffmpeg makes them.

{video} and {sound} stand for 10 moving frames of 64x48 and a tone beside them, the name of another recipe for its file,
and {parts} for the folder of `write_parts`.
"""

from __future__ import annotations

from pathlib import Path

VIDEO = "-f lavfi -i testsrc2=s=64x48:r=25:d=0.4"
SOUND = "-f lavfi -i sine=f=440:r=48000:d=0.4"
HEVC = "-c:v libx265 -preset ultrafast -pix_fmt {0} -x265-params log-level=none:pools=none:frame-threads=1{1}"
HDR = (
    ":hdr10=1:repeat-headers=1:max-cll=1000,400:master-display="
    "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
)
PQ = "-color_primaries bt2020 -color_trc smpte2084 -colorspace bt2020nc"
AV1 = "-c:v libaom-av1 -cpu-used 8 -row-mt 0 -strict -2"

CODECS = {
    "h264_aac.mp4": "{video} {sound} -c:v libx264 -c:a aac",
    "hevc_aac.mp4": "{video} {sound} -c:a aac -tag:v hvc1 " + HEVC.format("yuv420p", ""),
    "av1_opus.mp4": "{video} {sound} -c:a libopus " + AV1,
    "av1_opus.webm": "{video} {sound} -c:a libopus " + AV1,
    "vp9_opus.webm": "{video} {sound} -c:v libvpx-vp9 -deadline realtime -c:a libopus",
    "vp9_alpha.webm": "{video} -c:v libvpx-vp9 -deadline realtime -pix_fmt yuva420p",
    "vp8_vorbis.webm": "{video} {sound} -c:v libvpx -deadline realtime -c:a libvorbis",
    "mpeg2_mp2.ts": "{video} {sound} -c:v mpeg2video -bf 2 -c:a mp2",
    "h264_latm.ts": "{video} {sound} -c:v libx264 -c:a aac -mpegts_flags latm",
    "hevc_ac3.m2ts": "{video} {sound} -c:a ac3 -mpegts_m2ts_mode 1 -f mpegts " + HEVC.format("yuv420p", ""),
    "mpeg1_mp2.mpg": "{video} {sound} -c:v mpeg1video -c:a mp2",
    "mpeg2_ac3.vob": "{video} {sound} -c:v mpeg2video -c:a ac3 -f vob",
    "asp_mp3.avi": "{video} {sound} -c:v mpeg4 -bf 2 -c:a libmp3lame",
    "mjpeg_adpcm.avi": "{video} {sound} -c:v mjpeg -pix_fmt yuvj420p -c:a adpcm_ima_wav",
    "huffyuv_adpcm.avi": "{video} {sound} -c:v huffyuv -pix_fmt yuv422p -c:a adpcm_ms",
    "utvideo_rgb.avi": "{video} {sound} -c:v utvideo -pix_fmt gbrp -c:a pcm_s16le",
    "msmpeg4_wma.avi": "{video} {sound} -c:v msmpeg4 -c:a wmav2",
    "wmv2_wma2.wmv": "{video} {sound} -c:v wmv2 -c:a wmav2",
    "wmv1_wma1.asf": "{video} {sound} -c:v wmv1 -c:a wmav1",
    "flv1_mp3.flv": "{video} {sound} -c:v flv1 -c:a libmp3lame -ar 44100",
    "h264_aac.flv": "{video} {sound} -c:v libx264 -c:a aac",
    "theora_vorbis.ogv": "{video} {sound} -c:v libtheora -c:a libvorbis",
    "mpeg2_pcm.mxf": "{video} {sound} -c:v mpeg2video -g 1 -c:a pcm_s16le",
    "prores_pcm.mov": "{video} {sound} -c:v prores_ks -profile:v 2 -pix_fmt yuv422p10le -c:a pcm_s24le",
    "prores_4444.mov": "{video} -vf format=rgba,colorchannelmixer=aa=0.5 -c:v prores_ks -profile:v 4 "
    "-pix_fmt yuva444p10le",
    "mjpeg_ulaw.mov": "{video} {sound} -c:v mjpeg -pix_fmt yuvj422p -c:a pcm_mulaw -ar 8000",
    "h264_alac.mov": "{video} {sound} -c:v libx264 -c:a alac",
    "qtrle.mov": "{video} -c:v qtrle -pix_fmt rgb24",
    "asp_mp3.mp4": "{video} {sound} -c:v mpeg4 -c:a libmp3lame",
    "h264.3gp": "{video} {sound} -c:v libx264 -c:a aac",
    "ffv1_flac.mkv": "{video} {sound} -c:v ffv1 -level 3 -c:a flac",
    "h264_speex.mkv": "{video} {sound} -c:v libx264 -c:a libspeex -ar 16000",
    "h264_dts.mkv": "{video} {sound} -c:v libx264 -c:a dca -strict -2",
    "h264_eac3_wavpack.mkv": "{video} {sound} {sound} -map 0 -map 1 -map 2 -c:v libx264 -c:a:0 eac3 -c:a:1 wavpack",
    "raw.y4m": "{video} -pix_fmt yuv420p",
    "raw_444p10.y4m": "{video} -pix_fmt yuv444p10le -strict -1",
    "h264.264": "{video} -c:v libx264 -f h264",
    "mpeg2.m2v": "{video} -c:v mpeg2video -f mpeg2video",
    "snow.nut": "{video} {sound} -c:v snow -strict -2 -c:a pcm_s16le",
    "animation.gif": "{video} -pix_fmt rgb8",
}

CLOCKS = {
    "vfr.mkv": "{video} {sound} -vf settb=1/1000,setpts=N*N*10+N*20 -fps_mode passthrough -c:v libx264 -bf 0 -c:a aac",
    "vfr_b.mp4": "{video} -vf settb=1/1000,setpts=N*N*10+N*20 -fps_mode passthrough -enc_time_base 1/1000 -c:v libx264",
    "ntsc.mkv": "-f lavfi -i testsrc2=s=64x48:r=30000/1001:d=0.4 -c:v libx264",
    "cut_in_gop.mp4": "-ss 0.2 -i {h264_aac.mp4} -c copy",
    "late_picture.mp4": "-itsoffset 0.5 {video} {sound} -map 0 -map 1 -fps_mode passthrough -c:v libx264 -c:a aac",
    "late_sound.mkv": "{video} -itsoffset 0.16 {sound} -map 0 -map 1 -c:v libx264 -c:a aac",
    "negative_start.mkv": "{video} {sound} -c:v libx264 -c:a aac -output_ts_offset -0.08 -avoid_negative_ts disabled",
    "starts_at_10_s.mkv": "{video} {sound} -c:v libx264 -c:a aac -output_ts_offset 10",
    "starts_at_25_h.flv": "{video} {sound} -c:v libx264 -c:a aac -output_ts_offset 90000",
    "wraps_around.ts": "{video} {sound} -c:v libx264 -c:a mp2 -output_ts_offset 95442.1",
    "fragmented.mp4": "{video} {sound} -c:v libx264 -g 5 -c:a aac -movflags frag_keyframe+empty_moov",
    "live.mkv": "{video} {sound} -c:v libx264 -c:a aac -live 1",
    "one_frame.mp4": "{video} -frames:v 1 -c:v libx264",
    "gap_of_5_s.mkv": "{video} {sound} -vf settb=1/1000,setpts='N*40+floor(N/6)*5000' -fps_mode passthrough "
    "-c:v libx264 -c:a aac",
}

COLOURS = {
    "h264_10bit.mkv": "{video} -c:v libx264 -pix_fmt yuv420p10le",
    "h264_422.mp4": "{video} -c:v libx264 -pix_fmt yuv422p",
    "h264_444_10bit.mp4": "{video} -c:v libx264 -pix_fmt yuv444p10le",
    "hevc_12bit_444.mkv": "{video} " + HEVC.format("yuv444p12le", ""),
    "ffv1_16bit_rgb.mkv": "{video} -c:v ffv1 -level 3 -pix_fmt gbrp16le",
    "ffv1_grey.mkv": "{video} -c:v ffv1 -level 3 -pix_fmt gray",
    "full_range.mp4": "{video} -vf scale=out_range=full -c:v libx264 -pix_fmt yuv420p -color_range pc",
    "bt709.mp4": "{video} -c:v libx264 -color_primaries bt709 -color_trc bt709 -colorspace bt709 -color_range tv",
    "bt601_625.mkv": "{video} -c:v libx264 -color_primaries bt470bg -color_trc gamma28 -colorspace bt470bg",
    "pq_hdr10.mkv": "{video} " + PQ + " " + HEVC.format("yuv420p10le", HDR),
    "pq_hdr10.mp4": "{video} -tag:v hvc1 " + PQ + " " + HEVC.format("yuv420p10le", HDR),
    "hlg.mp4": "{video} -c:v libx264 -pix_fmt yuv420p10le -color_primaries bt2020 -color_trc arib-std-b67 "
    "-colorspace bt2020nc",
    "chroma_top_left.mkv": "{video} -c:v libx264 -chroma_sample_location topleft",
    "anamorphic.mkv": "{video} -vf setsar=16/11 -c:v libx264",
    "anamorphic.mpg": "{video} -aspect 16:9 -c:v mpeg2video",
    "rotated.mp4": "{video} -c:v libx264 -metadata:s:v:0 rotate=90",
    "odd_size.mkv": "-f lavfi -i testsrc2=s=65x49:r=25:d=0.4 -c:v ffv1 -level 3 -pix_fmt yuv444p",
    "interlaced.ts": "{video} -vf tinterlace=interleave_top -c:v mpeg2video -flags:v +ilme+ildct+bitexact -top 1",
}

STREAMS = {
    "many_sounds.mkv": "{video} {sound} {sound} {sound} -map 0 -map 1 -map 2 -map 3 -c:v libx264 -c:a:0 aac -c:a:1 ac3 "
    "-c:a:2 flac -metadata:s:a:0 language=eng -metadata:s:a:1 language=deu -metadata:s:a:2 title=Commentary "
    "-disposition:a:0 0 -disposition:a:1 default -disposition:a:2 comment",
    "subtitles.mkv": "{video} -i {parts}/text.srt -i {parts}/signs.ass -i {parts}/text.vtt -map 0 -map 1 -map 2 -map 3 "
    "-c:v libx264 -c:s:0 srt -c:s:1 ass -c:s:2 webvtt -metadata:s:s:0 language=eng -metadata:s:s:1 language=jpn "
    "-disposition:s:0 default+forced -disposition:s:1 hearing_impaired",
    "subtitles.mp4": "{video} {sound} -i {parts}/text.srt -map 0 -map 1 -map 2 -c:v libx264 -c:a aac -c:s mov_text "
    "-metadata:s:s:0 language=fra",
    "subtitles.webm": "{video} -i {parts}/text.vtt -map 0 -map 1 -c:v libvpx-vp9 -deadline realtime -c:s webvtt",
    "font_cover_chapters.mkv": "{video} {sound} -i {parts}/chapters.txt -map 0 -map 1 -map_chapters 2 -map_metadata 2 "
    "-c:v libx264 -c:a aac -attach {parts}/font.ttf -metadata:s:t:0 mimetype=font/ttf "
    "-attach {parts}/cover.png -metadata:s:t:1 mimetype=image/png",
    "cover_chapters.mp4": "{video} {sound} -i {parts}/cover.png -i {parts}/chapters.txt -map 0 -map 1 -map 2 "
    "-map_chapters 3 -map_metadata 3 -c:v:0 libx264 -c:a aac -c:v:1 copy -disposition:v:1 attached_pic",
    "tags.mp4": "{video} {sound} -c:v libx264 -c:a aac -metadata title=Grün -metadata artist=Somebody "
    "-metadata comment=Nothing -metadata date=2024 -metadata creation_time=2024-05-06T07:08:09Z "
    "-metadata location=+48.2082+016.3738/ -metadata:s:a:0 language=deu",
    "tags.mov": "{video} {sound} -c:v libx264 -c:a aac -movflags use_metadata_tags -metadata "
    "com.apple.quicktime.make=Maker -metadata com.apple.quicktime.software=9.1 -metadata title=Phone",
    "tags.mkv": "{video} {sound} -c:v libx264 -c:a aac -metadata title=Film -metadata IMDB=tt0000001 "
    "-metadata:s:v:0 title=Picture -metadata:s:a:0 title=Sound -metadata creation_time=2024-05-06T07:08:09Z",
    "tags.avi": "{video} {sound} -c:v mpeg4 -c:a libmp3lame -metadata title=Film -metadata artist=Somebody "
    "-metadata copyright=Nobody",
    "timecode.mov": "{video} {sound} -c:v libx264 -c:a aac -timecode 01:02:03:04",
    "two_pictures.mkv": "{video} {video} -map 0 -map 1 -filter:v:1 scale=32:24 -c:v libx264",
}

STILLS = {
    "still.png": "{video} -frames:v 1 -pix_fmt rgb24",
    "still_16bit.png": "{video} -frames:v 1 -pix_fmt rgb48be",
    "still_alpha.png": "{video} -frames:v 1 -pix_fmt rgba",
    "still_grey.png": "{video} -frames:v 1 -pix_fmt gray",
    "still.jpg": "{video} -frames:v 1 -pix_fmt yuvj420p -q:v 2",
    "still.webp": "{video} -frames:v 1 -c:v libwebp -lossless 1",
    "still.tiff": "{video} -frames:v 1 -pix_fmt rgb24",
    "still_16bit.tiff": "{video} -frames:v 1 -pix_fmt rgb48le",
    "still.bmp": "{video} -frames:v 1 -pix_fmt bgr24",
    "still.ppm": "{video} -frames:v 1 -pix_fmt rgb24",
    "still.tga": "{video} -frames:v 1 -pix_fmt bgr24",
}

RECIPES = CODECS | CLOCKS | COLOURS | STREAMS | STILLS

# Bytes of files made before, one after the other, as `cat` joins recordings; an offset in seconds is added to a part.
JOINED = {
    "restarts.ts": [("mpeg2_mp2.ts", 0.0), ("mpeg2_mp2.ts", 0.0)],
    "jumps_10_h.ts": [("mpeg2_mp2.ts", 0.0), ("mpeg2_mp2.ts", 36000.0)],
    "jumps_back_10_h.ts": [("mpeg2_mp2.ts", 36000.0), ("mpeg2_mp2.ts", 0.0)],
    "restarts.vob": [("mpeg2_ac3.vob", 0.0), ("mpeg2_ac3.vob", 0.0)],
}

# Playable files that have something odd behind their end.
TRAILED = {"trailer.mp4": ("h264_aac.mp4", b"made by nobody\n" * 3), "trailer.mkv": ("vfr.mkv", bytes(64))}


def write_parts(folder: Path, png: bytes) -> None:
    """The subtitles, chapters, font and cover that recipes name."""
    (folder / "text.srt").write_text(
        "1\n00:00:00,000 --> 00:00:00,120\nFirst <i>line</i>\n\n2\n00:00:00,200 --> 00:00:00,360\nSecond: äöü\n"
    )
    (folder / "text.vtt").write_text(
        "WEBVTT\n\n00:00.000 --> 00:00.120\nFirst\n\n00:00.200 --> 00:00.360\nSecond: äöü\n"
    )
    events = "".join(f"Dialogue: {n},0:00:00.10,0:00:00.30,Default,,0,0,0,,Sign {n}\n" for n in range(5))
    (folder / "signs.ass").write_text(
        "[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname, Fontsize\n"
        "Style: Default,Some Font,20\n\n[Events]\n"
        "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n" + events
    )
    (folder / "chapters.txt").write_text(
        ";FFMETADATA1\ntitle=Two chapters\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=200\ntitle=Opening\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=200\nEND=400\ntitle=Ende\n"
    )
    (folder / "font.ttf").write_bytes(bytes(range(256)) * 9)
    (folder / "cover.png").write_bytes(png)
