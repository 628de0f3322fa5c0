! libgodwit's Fortran module: shapes reversed, several inputs, errors.
program test_fortran
  use godwit
  use, intrinsic :: iso_c_binding
  implicit none
  interface
    subroutine write_models(folder) bind(c)
      import :: c_char
      character(kind=c_char), intent(in) :: folder(*)
    end subroutine write_models
    subroutine remove_models(folder) bind(c)
      import :: c_char
      character(kind=c_char), intent(in) :: folder(*)
    end subroutine remove_models
    function process() bind(c, name="getpid") result(pid)
      import :: c_int
      integer(c_int) :: pid
    end function process
  end interface
  character(64) :: folder
  character(256) :: fashion
  integer :: failed

  failed = 0
  write (folder, "(a, i0)") "/tmp/godwit-fortran-", process()
  call get_command_argument(1, fashion)
  call write_models(trim(folder)//c_null_char)
  call describe()
  call order()
  call several()
  call sizes_and_images()
  call refusals()
  call remove_models(trim(folder)//c_null_char)
  if (failed > 0) then
    write (*, "(i0, a)") failed, " checks failed"
    stop 1
  end if

contains

  subroutine check(right, what)
    logical, intent(in) :: right
    character(*), intent(in) :: what
    if (right) return
    failed = failed + 1
    write (*, "(2a)") "wrong: ", what
  end subroutine check

  subroutine describe()
    type(godwit_model) :: model
    real(c_double) :: scale, offset
    call check(.not. godwit_is_open(model), "not open at first")
    call check(godwit_input_count(model) == 0, "nothing in a model that is not open")
    call godwit_open(model, fashion)
    call check(godwit_is_open(model), "open")
    call check(all(godwit_input_shape(model, 1) == [1, 28, 28]), "the input's shape")
    call check(all(godwit_output_shape(model, 1) == [10]), "the output's shape")
    call check(size(godwit_input_shape(model, 2)) == 0, "no second input")
    call check(godwit_input_name(model, 1) == "image", "the input's name")
    call check(godwit_label_count(model) == 10, "number of labels")
    call check(godwit_label(model, 10) == "Ankle boot", "the last label")
    call check(godwit_label(model, 11) == "", "no more labels")
    call check(len(godwit_version()) >= 5, "version")
    call godwit_close(model)
    call check(.not. godwit_is_open(model), "closed")
    call godwit_close(model)
    call godwit_open(model, trim(folder)//"/means.h5")
    call check(godwit_preprocessing(model, scale, offset), "preprocessing")
    call check(scale == 0.5 .and. offset == -3, "scale and offset")
    call godwit_close(model)
  end subroutine describe

  ! (channels, width, height, samples): the larger of each two along the second index.
  subroutine order()
    type(godwit_model) :: model
    integer, parameter :: c = 2, w = 6, h = 3, n = 5
    real(c_float) :: x(c, w, h, n), y(c, w/2, h, n)
    integer :: i
    x = reshape([(real(mod(i*7, 23), c_float), i=1, size(x))], shape(x))
    call godwit_open(model, trim(folder)//"/pairs.h5", threads=2)
    call check(all(godwit_input_shape(model, 1) == [2, GODWIT_UNKNOWN, GODWIT_UNKNOWN]), "unknown sizes")
    call check(all(godwit_output_shape(model, 1, input=[c, w, h]) == [c, w/2, h]), "the output's size")
    call godwit_prepare(model, n, shape=[c, w, h])
    y = -1
    call godwit_run(model, n, x, y, shape=[c, w, h])
    call check(all(y == max(x(:, 1::2, :, :), x(:, 2::2, :, :))), "the larger of two")
    ! A part of an array, which is not contiguous, is copied by the compiler.
    y = -1
    call godwit_run(model, 2, x(:, :, :, 1:4:3), y(:, :, :, 1:2), shape=[c, w, h])
    call check(all(y(:, :, :, 2) == max(x(:, 1::2, :, 4), x(:, 2::2, :, 4))), "of a part")
    call godwit_close(model)
  end subroutine order

  subroutine several()
    type(godwit_model) :: model
    integer, parameter :: n = 19
    real(c_float), target :: a(3, n), b(3, n), d(3, n), r(3, n)
    integer :: i, stat
    character(200) :: errmsg
    a = reshape([(real(mod(i*5, 11) - 4, c_float), i=1, size(a))], shape(a))
    b = reshape([(real(mod(i*7, 11) - 4, c_float), i=1, size(b))], shape(b))
    call godwit_open(model, trim(folder)//"/ends.h5", engine="openblas")
    call check(godwit_input_count(model) == 2 .and. godwit_output_count(model) == 2, "two inputs and outputs")
    call check(godwit_output_name(model, 2) == "r", "the second output's name")
    call godwit_run_several(model, n, [c_loc(a), c_loc(b)], [c_loc(d), c_loc(r)])
    call check(all(d == a - b) .and. all(r == max(a, 0.0)), "two outputs")
    d = 0
    call godwit_run_several(model, n, [c_loc(a), c_loc(b)], [c_loc(d), c_loc(r)], shapes=reshape([3, 3], [1, 2]))
    call check(all(d == a - b), "two outputs of shapes said")
    call godwit_run(model, n, a, d, stat=stat, errmsg=errmsg)
    call check(stat == GODWIT_USAGE .and. index(errmsg, "2 inputs and 2 outputs; given are 1 and 1") > 0, errmsg)
    call godwit_run_several(model, n, [c_loc(a)], [c_loc(d), c_loc(r)], stat=stat, errmsg=errmsg)
    call check(stat == GODWIT_USAGE .and. index(errmsg, "given are 1 and 2") > 0, errmsg)
    call godwit_close(model)
  end subroutine several

  subroutine sizes_and_images()
    type(godwit_model) :: model
    real(c_float) :: y(2), mean
    integer(c_int8_t) :: pixels(1, 6, 4)
    integer :: i, values(24)
    values = [(i*10, i=1, 24)]
    pixels = reshape(int(merge(values, values - 256, values < 128), c_int8_t), shape(pixels))
    mean = sum(values)/24.0*0.5 - 3
    call godwit_open(model, trim(folder)//"/means.h5")
    call godwit_run_image(model, pixels, y)
    call check(abs(y(1) - (1 + 4*mean)) < 1e-3 .and. abs(y(2) - (1 - 4*mean)) < 1e-3, "an image")
    call godwit_close(model)
  end subroutine sizes_and_images

  subroutine refusals()
    type(godwit_model) :: model
    real(c_float) :: x(1), y(2)
    integer :: stat
    character(300) :: errmsg
    call godwit_open(model, "/absent/model.h5", stat=stat, errmsg=errmsg)
    call check(stat == GODWIT_IO .and. index(errmsg, "/absent/model.h5") > 0, errmsg)
    call check(.not. godwit_is_open(model), "not open after an error")
    call godwit_run(model, 1, x, y, stat=stat, errmsg=errmsg)
    call check(stat == GODWIT_USAGE .and. index(errmsg, "not open") > 0, errmsg)
    call godwit_open(model, trim(folder)//"/means.h5", engine="abacus", stat=stat, errmsg=errmsg)
    call check(stat == GODWIT_USAGE .and. index(errmsg, "abacus") > 0, errmsg)
    call godwit_open(model, trim(folder)//"/means.h5", stat=stat)
    call check(stat == GODWIT_OK, "opened")
    call godwit_run(model, 1, x, y, stat=stat, errmsg=errmsg)
    call check(stat == GODWIT_DATA .and. index(errmsg, 'input "x"') > 0, errmsg)
    call godwit_run(model, 1, x, y, shape=[1, 1], stat=stat, errmsg=errmsg)
    call check(stat == GODWIT_DATA, "too few dimensions")
    call godwit_close(model)
  end subroutine refusals

end program test_fortran
